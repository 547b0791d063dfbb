"""tpr.data.drawn"""
